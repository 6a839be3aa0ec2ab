"""Rules of :mod:`geo.translit`: what becomes of Latin letters in each language, longest and most special first.

A rule is ``pattern=replacement``; ``^`` and ``$`` are the ends of a word, ``(a|b)`` and look-aheads are those of
regular expressions. An empty replacement drops the letters.
"""

from __future__ import annotations

import re
from typing import Final

_ALONE = "а б к д е ф г х и дж к л м н о п к р с т у в в кс и з е е ё д т сс л д ы а".split()  # noqa: SIM905 - pairs stand under each other
LETTERS: Final = dict(zip("abcdefghijklmnopqrstuvwxyzæœøðþßłđıə", _ALONE, strict=True)) | dict.fromkeys("'’`´ʼ", "")
"""Letters on their own, where the language has no rule for them."""

_BGN = """
^ekaterin=екатерин ^yosh=йош sovetsk=советск kletsk=клетск yabrsk=ябрьск al(?=n[eioy])=аль el(?=n[eiouy])=ель
l(?=sk)=ль pol$=поль slavl$=славль stal$=сталь nizhny$=нижний verkhny$=верхний sky$=ский tsky$=цкий ky$=кий ny$=ный
vy$=вый stary$=старый nye$=ные
shch=щ kh=х zh=ж (?<=[ie])tsk=цк tsk=тск ts=ц ch=ч sh=ш yu=ю ya=я yë=ё ^yo=ё yo=ё ^ye=е
(?<=[aeiouyаеёиоуыэюя'’ʼ`´])ye=е ye=е ë=ё skiy$=ский ckiy$=цкий tskiy$=цкий iy$=ий yy$=ый oy$=ой ay$=ай ey$=ей
uy$=уй (?<=[aeiou])y(?=[bcdfghklmnprstvz])=й (?<=[aeiou])y$=й y=ы ['’ʼ`´](?=[aeiou])=ь ['’ʼ`´]=ь ^e=э e=е h=х j=дж
w=в x=кс q=к c=ц
"""
_BELARUSIAN = (
    """
(?<=[cz]h)y=и (?<=sh)y=и tsy=цы tsk=цк aw$=ов ow$=ов w=в h=г pol$=поль ts['’]=ть
"""
    + _BGN
)
_UKRAINIAN = """
^lv=льв ts['’]k=цк s['’]k=ск pol$=поль pil$=поль l(?=sk)=ль ys['’]=йс (?<=[aeiou])yi=и ^e=э
tskyi$=цкий tskyy$=цкий (?<=[ie])tsk=цк tsk=тск shch=щ kh=х zh=ж ts=ц ch=ч sh=ш zgh=зг ^ye=е ^yi=и ^yu=ю ^ya=я yi=и
ye=е yu=ю ya=я iya=ия iy$=ий tskyi$=цкий tskyy$=цкий skyi$=ский skyy$=ский (?<=[ie])tsk=цк tsk=тск yi$=ый yy$=ый
ivka$=овка iv$=ов iia=ия ia=я iu=ю ie=е (?<=[aeiou])y$=й (?<=[aeiou])i(?=[bcdfghklmnprstvz])=й (?<=[aeou])i$=й
(?<=[bcdfghklmnprstvz])y$=ы y=и h=г ['’ʼ`´]=ь
"""
_BULGARIAN = """
sht=щ zh=ж ts=ц ch=ч sh=ш yu=ю ya=я ia$=ия y=й h=х
"""
_KAZAKH = """
shch=щ kh=х zh=ж ts=ц ch=ч sh=ш gh=г yu=ю ya=я ^ye=е ye=е iy$=ий (?<=[aeiou])y(?=[bcdfghklmnprstvz])=й
(?<=[aeiou])y$=й y=ы q=к w=у x=х j=ж h=х ı=ы ö=о ü=у ş=ш ç=ч ğ=г ñ=н ä=а c=ц ['’ʼ`´]=
"""
_ENGLISH = """
^miami$=майами ^virginia$=вирджиния ^elizabeth=элизабет ^iowa$=айова ^idaho$=айдахо ^columb=колумб ^oak(?!land)=оук
^cedar$=сидар ^sioux$=су ^fe$=фе ^rosa$=роза ^cruz$=крус ^ur=ур ^ir=ир chr=кр haven=хейвен es(?=ville)=с ow(?=l)=оу
ietta=иетта wal(?=[dlnst])=уол ^saint$=Сент ^st$=Сент ^upon$=апон ^on$=он ^the$=зе ^of$=оф ^and$=энд ^le$=ле ^los$=Лос
^las$=Лас ^san$=Сан ^santa$=Санта ^la$=Ла ^el$=Эль ^del$=дель ^de$=де ^worcester=вустер ^leicester=лестер
^gloucester=глостер ^north=норт ^south=саут ^east=ист ^west(?!er)=уэст ^new=нью ^white=уайт ^black=блэк ^high=хай
^fair=фэр ^great=грейт ^clear=клир ^george=джордж ^mac(?=[^aeiouyh])=мак ^mc=мак borough$=боро burgh$=бург burg$=берг
bury$=бери mouth$=мут worth$=уэрт wick$=уик wich$=уич cester$=стер chester=честер minster=минстер shire$=шир
(?<=[gdkltr])ham$=ем ham$=хэм ford$=форд fields$=филдс field$=филд town$=таун land$=ленд lands$=лендс ville$=вилл
dale$=дейл vale$=вейл bridge=бридж ridge=ридж woods$=вудс wood=вуд water=уотер stone=стоун house=хаус castle=касл
point=пойнт beach=бич heights$=Хайтс lake=лейк city$=Сити views?$=вью falls$=Фолс creek=крик grove=гров mount=маунт
bay$=бей head$=хед hall$=холл hill=хилл stead$=стед thorpe$=торп gate$=гейт side$=сайд pool$=пул isle=айл
island=айленд church=черч forest=форест garden=гарден king=кинг queen=куин prince=принс royal=ройал river=ривер
rock=рок spring=спринг valley=Вэлли village=Вилладж harbou?r=харбор ough$=о augh=о eigh=ей igh=ай aigh=ей tch=тч
sch=ск sh=ш ch=ч th=т ph=ф ^kn=н ^wr=р ^wh=у wh=у ck=к dge=дж qu=кв cc(?=[eiy])=кс tion=шен ss=сс ll=лл air=эр ear=ир
eer=ир oor=ур our=ор are$=эр ire$=айр ore$=ор ^you=ю ^ya=я ^yo=йо ^yu=ю ^ye=йе ey$=и ays?$=ей ay=ей ai=ей ee=и ea=и
oo=у ou=ау ow$=оу ow(?=[nel])=ау ow=оу ew=ью au=о aw=о oa=о oe$=о oi=ой oy=ой eau=о ie$=и ie=и ei=ей ia=ия uy=ай
ue$=ью ui=уи eo=ео a(?=[bcdgklmnpstvz]es?$)=ей i(?=[bcdgklmnpstvz]es?$)=ай o(?=[bcdgklmnpstvz]es?$)=оу
u(?=[bcdgklmnpstvz]es?$)=ью a(?=[bdgklmnpstvz]e(?:[bdfgklmnpstw][a-z]))=ей (?<=[bcdfghklmnprstvwz])e$=
(?<=[bcdfghklmnprtvw])es$=с (?<=[bcdfghklmnprst])er$=ер ur(?=[bcdfghklmnpstvwz]|$)=ер ir(?=[bcdfghklmnpstvwz]|$)=ер
(?<=[bdfghlmnrst])u(?=(?:bb|cc|ck|dd|ff|gg|ll|mb|mm|mp|nn|nt|nd|nk|pp|rr|st|tt|dl|ds|ns|nb))=а ^wa(?=[lrst])=уо
^wo(?=[krk])=уо w(?=[aeiouy])=у w=у c(?=[eiy])=с c=к ge$=дж g(?=e[^ort]|ibb)=дж j=дж x=кс y$=и (?<=[aeou])y=й y=и ^e=э
^u(?=n)=ю h(?=$|[bcdfgklmnprstvw])= zz=цц
"""
_GERMAN = """
^st$=санкт stadt=штадт stedt=штедт stein=штайн ludwig=людвиг ^rhein=рейн rh=р richs=рихс ui=уй (?<=[aeiou])v=в ae=е
oe=ё ue=ю ^st(?=[aeiouäöür])=шт ^sp=шп tsch=ч tzsch=ч sch=ш chs=кс ch=х ck=к tz=ц ph=ф th=т qu=кв dt=дт zsch=ч ei=ай
ey=ай ai=ай ay=ай eu=ой äu=ой ie=и aa=а ee=е oo=о (?<=[aeiouäöü])h(?=[bcdfgklmnprstvwz]|$)=
(?<=[aeiouäöü])h(?=[aeiou])=х ja=я jo=йо ju=ю jü=ю je=е j=й v=ф w=в z=ц c(?=[eiy])=ц c=к ß=с ss=сс s(?=[aeiouäöü])=з
^ä=э ä=е ^ö=э ö=ё ^ü=и ü=ю ^e=э y=и x=кс l(?=[bcdfghkmnpqrstvwxz]|$)=ль
"""
_DUTCH = """
^'s=с sch(?=[aeiouy])=сх sch$=с sch=сх ij=ей ei=ей oe=у ou=ау au=ау eu=ё ui=ей uu=ю ie=и ee=е oo=о aa=а ch=х ck=к
th=т qu=кв ja=я jo=йо ju=ю je=е j=й g=г v=в w=в z=з c(?=[eiy])=с c=к u=ю ^e=э y=и h=х x=кс
"""
_FRENCH = """
^d['’]=д’ ^l['’]=л’ ^st$=сен ^ste$=сент ^aix$=экс ^mer$=мер ^en$=ан ^la$=ла ^le$=ле ^les$=ле ^de$=де ^du$=дю ^des$=де
ville=виль eille=ей aille=ай iers?$=ье el$=ель eaux$=о eau=о aux$=о aulx$=о au=о oux$=у out$=у ou=у oin=уэн oi=уа
oy=уа ain(?=[bcdfghjklmnpqrstvxz]|$)=ен ein(?=[bcdfgjlpqrstvxz]|$)=ен illes?$=иль ille=ий ail$=ай eil$=ей gn=нь ch=ш
ph=ф th=т qu=к gu(?=[eiéèêy])=г ge(?=[ao])=ж cq=к ç=с ers?$=е ets?$=е ez$=е ât$=а at$=а ot$=о it$=и ut$=ю ant$=ан
ent$=ан ont$=он ond$=он and$=ан ard$=ар ord$=ор urs$=ур ins$=ен ans$=ан ons$=он (?<=[bcdfghjklmnpqrstvxzui])es$=
(?<=[bcdfghjklmnpqrstvxziuy])e$= ées?$=е és?$=е un$=ен in(?=[bcdfgjklpqrstvxz]|$)=ен en(?=[bcdfgjklpqrstvxz])=ан
em(?=[bp])=ам aï=аи ai=е ay=е ei=е eu=ё œu=ё œ=ё ia=ья ie=ье io=ьо c(?=[eiéèêyî])=с c=к g(?=[eiéèêyî])=ж j=ж
l(?=[bcdfgkmnpqrstvxz]|$)=ль ss=сс (?<=[aeiouéèêy])s(?=[aeiouéèêy])=з s$= t$= d$= x$= z$= h= ^é=э ^e=э é=е è=е ê=е ë=е
û=ю ü=ю ^u=ю u=ю ô=о î=и ï=и â=а à=а y=и
"""
_SPANISH = """
^los$=Лос ^las$=Лас ^el$=Эль ^la$=Ла ^y$=и ^de$=де ^del$=дель cch=ч ch=ч ll=ль rr=рр ñ(?=[aeiou])=нь ñ=нь qu=к gü=гу
^guad=гвад ^guatemala=гватемала ^h?u[eé]=уэ ^he=э ^hi=и cue=куэ ciue=сьюэ ciu=сью cie=сье cio$=сио cio=сьо ció=сьо
gu(?=[eiéí])=г z=с c(?=[eiéí])=с cc=кс c=к g(?=[eiéí])=х j=х x=х h= lla=лья lle=лье llo=льо llu=лью lli=льи ^ya=я
^yo=йо ^yu=ю ya=я yo=йо yu=ю ye=е y$=и aya=ая ay=ай ey=ей oy=ой y=й v=в ue=уэ ué=уэ ie=ье ié=ье io$=ио io=ьо ió=ьо
iu=ью ia$=ия ia=ья ^e=э é=е á=а í=и ó=о ú=у ü=у ai=ай ei=ей oi=ой l(?=[bcdfghkmnpqrstvxz]|$)=ль w=у
"""
_PORTUGUESE = """
^s[ãa]o$=Сан ^santos$=Сантус ^santa$=Санта ^santo$=Санту ^do$=ду ^da$=да ^dos$=дус ^das$=дас ^de$=ди ^e$=и nh=нь lh=ль
ch=ш ss=с qu(?=[eiéí])=к qu=ку gu(?=[eiéí])=г ç=с ção$=сан ções$=сойнс ão=ан ãos$=анс ãe=айн õe=ой ã=ан õ=он ao$=ан
im$=ин em$=ен ém$=ен ai(?=[aâá])=а oi(?=[aâá])=о ei(?=[aâá])=е c(?=[eiéíê])=с c=к g(?=[eiéíê])=ж j=ж ^h= h= x=ш z$=с
(?<=[aeiouáâãéêíóôú])s(?=[aeiouáâãéêíóôú])=з os$=ус o$=у es$=ис e$=и ia$=ия ia=иа ai=ай ei=ей oi=ой ^e=э ê=е é=е á=а
â=а à=а í=и ó=о ô=о ú=у l(?=[bcdfghkmnpqrstvxz]|$)=л y=и w=в
"""
_ITALIAN = """
sch=ск sci(?=[aou])=ш sc(?=[ei])=ш cch=кк cci(?=[aou])=чч cc(?=[ei])=чч ch=к ci(?=[aou])=ч c(?=[eiìè])=ч
gli(?=[aeou])=ль gli=льи gn=нь ggi(?=[aou])=дж gg(?=[ei])=дж gh=г gi(?=[aou])=дж g(?=[eiìè])=дж qu=ку zz=цц z=ц j=й
h= ia$=ия ia=иа ie=ье io=ьо ^e=э è=е é=е à=а ì=и ò=о ù=у (?<=[aeiou])s(?=[aeiou])=з c=к
l(?=[bcdfghkmnpqrstvxz]|$)=ль ai=ай ei=ей y=и w=в x=кс
"""
_POLISH = """
szcz=щ sz=ш cz=ч (?<=[ptkh])rz=ш rz=ж ch=х dź=дзь dzi(?=[aeou])=дз dż=дж dzie=дзе nia=ня nie=не nio=нё niu=ню nią=нён
nię=нен sia=ся sie=се sio=сё sią=сён się=сен cia=ця cie=це cio=цё cią=цён cię=цен zia=зя zie=зе zio=зё zią=зён zię=зен
(?<=[scr]z)y=и ży=жи ść=сць ś(?=[bcdfghjklłmnpqrstvwz])=с ^ja=я ja=я jo=йо ju=ю je=е ję=е ją=ё ski$=ский cki$=цкий
dzki$=дзкий ów$=ув ia=я ie=е ię=е ią=ё iu=ю io=ё ł(?=[aeiouyąęó])=л ł=л la=ля lo=лё lu=лю l(?=[bcdfghkmnprstwz]|$)=ль
ą(?=[bp])=ом ą=он ę(?=[bp])=ем ę=ен ó=у ś=сь ź=зь ć=ць ń=нь ż=ж c=ц h=х w=в y=ы j=й ^e=э v=в
"""
_CZECH = """
ch=х dž=дж ou=оу ě=е ř=рж č=ч š=ш ž=ж ť=ть ď=дь ň=нь ľ=ль ja=я jo=йо ju=ю ji=йи je=е já=я ý$=ый ský$=ский cký$=цкий
á=а é=е í=и ó=о ú=у ů=у ý=и y=и h=г c=ц j=й ^e=э w=в x=кс ô=уо ä=е
"""
_SERBIAN = """
dž=дж đ=дж č=ч ć=ч š=ш ž=ж lj(?=[aeou])=ль lj=ль nj(?=[aeou])=нь nj=нь ja=я (?<=[bdgkmpstvz])je=ье je=е ju=ю jo=йо
ij$=ий j=й c=ц h=х ^e=э y=и w=в
"""
_HUNGARIAN = """
sz=с zs=ж cs=ч gy=дь ty=ть ny=нь ly=й s=ш c=ц h=х já=я ja=я jó=йо ju=ю jú=ю je=е jé=е j=й v=в á=а é=е í=и ó=о ö=ё
ő=ё ú=у ü=ю ű=ю ^e=э
"""
_ROMANIAN = """
che=ке chi=ки ce=че ci(?=[aou])=ч ci=чи ge=дже gi(?=[aou])=дж gi=джи ghe=ге ghi=ги ți$=ц ţi$=ц ești$=ешти eşti$=ешти
ș=ш ş=ш ț=ц ţ=ц ă=э â=ы î=ы iu$=иу ia=ия j=ж h=х c=к ^e=е i$=ь
"""
_TURKISH = """
(?<=[bcdfghklmnprstvzş])ya=ья ^ü=у ç=ч ş=ш ğ= ı=ы ö=ё ^ö=э ü=ю ^ü=у c=дж j=ж y(?=[bcdfghjklmnprstvz]|$)=й ya=я yo=йо
yu=ю ye=е yı=йы yi=йи yü=ю yö=йо ^e=э h=х v=в â=а w=в ay=ай ey=ей
"""
_NORDIC = """
k[öo]e?ping=чёпинг ^kö=чё ^kist=чист ^skö=шё ^skel=шел ^gä=е karl=карл krona=круна koga=куга stockholm=стокгольм sch=ш
skj=ш sj=ш kj=ч tj=ч ^hj=й ^gj=й ck=к ch=к qu=кв ja=я jä=е jo=йо ju=ю je=е jö=йё jø=йё j=й å=о aa=о ^ö=э ^ø=э ö=ё ø=ё
^ä=э ä=е æ=е ae=е oe=ё ^e=э ^y=и y=ю l(?=[bcdfghkmnpqrstvwxz]|$)=ль w=в c(?=[eiy])=с c=к z=с x=кс th=т ph=ф ee=е
"""
_FINNISH = """
ää=яя yy=юу öö=ёё ^ä=я ä=я ^ö=э ö=ё ^y=ю y=ю ja=я jo=йо ju=ю je=е jä=я j=й h=х ^e=э ei=ей ai=ай oi=ой õ=ы ü=ю š=ш
ž=ж č=ч c=к w=в
"""
_BALTIC = """
ie=ие iai$=яй ai$=ай iai=яй ių=ю iau=яу au=ау ei=ей ai=ай uo=уо š=ш ž=ж č=ч ģ=г ķ=к ļ=ль ņ=нь ė=е ę=е ą=а į=и ū=у
ų=у ā=а ē=е ī=и c=ц h=х ja=я jo=йо ju=ю je=е jū=ю j=й y=и ^e=э ia=я io=ё iu=ю
"""
_JAPANESE = """
^tokyo=токио ^kyoto=киото ^y[oō]=ё y[oō]=ё yū=ю shi=си chi=ти tsu=цу sha=ся sh[uū]=сю sh[oō]=сё cha=тя ch[uū]=тю
ch[oō]=тё fu=фу ji=дзи ja=дзя j[uū]=дзю j[oō]=дзё zu=дзу za=дза ze=дзэ zo=дзо kya=кя ky[uū]=кю ky[oō]=кё gya=гя
gy[uū]=гю gy[oō]=гё nya=ня ny[uū]=ню ny[oō]=нё hya=хя hy[uū]=хю hy[oō]=хё mya=мя my[uū]=мю my[oō]=мё rya=ря
ry[uū]=рю ry[oō]=рё bya=бя by[uū]=бю by[oō]=бё pya=пя py[uū]=пю py[oō]=пё n(?=[bpm])=м ō=о ū=у ou=о oo=о uu=у ya=я
yu=ю yo=ё ^yo=Ё ai=ай ei=эй oi=ой ui=уй ^e=э e=э tchi=тти ch=т sh=с ts=ц w=в h=х j=дз l=р
"""
_CHINESE = """
zhuang=чжуан chuang=чуан shuang=шуан zhang=чжан zheng=чжэн zhong=чжун zhou=чжоу zhuo=чжо zhui=чжуй zhun=чжунь
zhuan=чжуань zhao=чжао zhai=чжай zhan=чжань zhen=чжэнь zhi=чжи zhu=чжу zha=чжа zhe=чжэ chang=чан cheng=чэн chong=чун
chou=чоу chuo=чо chui=чуй chun=чунь chuan=чуань chao=чао chai=чай chan=чань chen=чэнь chi=чи chu=чу cha=ча che=чэ
shang=шан sheng=шэн shou=шоу shuo=шо shui=шуй shun=шунь shuan=шуань shao=шао shai=шай shan=шань shen=шэнь shi=ши
shu=шу sha=ша she=шэ xiang=сян xiong=сюн xing=син xiao=сяо xian=сянь xia=ся xie=се xin=синь xiu=сю xuan=сюань
xue=сюэ xun=сюнь xu=сюй xi=си qiang=цян qiong=цюн qing=цин qiao=цяо qian=цянь qia=ця qie=це qin=цинь qiu=цю
quan=цюань que=цюэ qun=цюнь qu=цюй qi=ци jiang=цзян jiong=цзюн jing=цзин jiao=цзяо jian=цзянь jia=цзя jie=цзе
jin=цзинь jiu=цзю juan=цзюань jue=цзюэ jun=цзюнь ju=цзюй ji=цзи zang=цзан zeng=цзэн zong=цзун zou=цзоу zuo=цзо
zui=цзуй zun=цзунь zuan=цзуань zao=цзао zai=цзай zan=цзань zen=цзэнь zi=цзы zu=цзу za=цза ze=цзэ cang=цан ceng=цэн
cong=цун cou=цоу cuo=цо cui=цуй cun=цунь cuan=цуань cao=цао cai=цай can=цань cen=цэнь ci=цы cu=цу ca=ца ce=цэ
liang=лян niang=нян liao=ляо miao=мяо niao=няо piao=пяо biao=бяо diao=дяо tiao=тяо lian=лянь nian=нянь mian=мянь
bian=бянь pian=пянь dian=дянь tian=тянь lie=ле nie=не mie=ме bie=бе pie=пе die=де tie=те liu=лю niu=ню diu=дю miu=мю
lüe=люэ nüe=нюэ lü=люй nü=нюй yang=ян ying=ин yong=юн yuan=юань yao=яо yan=янь yue=юэ yun=юнь yin=инь you=ю ya=я
ye=е yi=и yo=йо yu=юй wang=ван weng=вэн wai=вай wan=вань wei=вэй wen=вэнь wa=ва wo=во wu=у ang=ан eng=эн ing=ин
ong=ун uang=уан uo=о ou=оу ao=ао ai=ай ei=эй ui=уй uan=уань an=ань en=энь in=инь un=унь ^er=эр er=эр si=сы e=э h=х
b=б p=п r=ж w=в ün=юнь ü=юй
"""
_KOREAN = """
^dong$=дон ^gu$=гу ^do$=до ^gun$=гун ^ga$=га ^ro$=ро ^ri$=ри jj=чч kk=кк tt=тт pp=пп ss=сс ch=чх eo=о eu=ы ae=э
oe=ве wae=ве wa=ва wo=во wi=ви we=ве ui=ый yeo=ё ya=я yo=ё yu=ю ye=е yae=е ^j=ч j=дж ^g=к g=г ^d=т d=д ^b=п b=б ng=н
^e=э h=х sh=с
"""
_PLAIN = """
shch=щ sch=ш sh=ш ch=ч kh=х zh=ж ph=ф th=т ts=ц gh=г ck=к qu=кв ya=я yu=ю yo=йо ^ye=е oo=у ou=у ee=и c(?=[eiy])=с
c=к x=кс j=дж w=в y$=и (?<=[aeiou])y=й y=и ^e=э ia=ия ai=ай ei=ей oi=ой ç=ч ş=ш ğ=г ö=ё ü=ю ñ=нь č=ч š=ш ž=ж ć=ч q=к
['’ʼ`´]=
"""


def _syllables(rules: str) -> str:
    """Let a final n go to the next syllable when a vowel follows: Ji-nan, not Jin-an, which is written Jin'an."""
    return re.sub(r"(\w*n)=", r"\1(?![aeiouü])=", rules)


RULES: Final = {
    "bgn": _BGN,
    "belarusian": _BELARUSIAN,
    "ukrainian": _UKRAINIAN,
    "bulgarian": _BULGARIAN,
    "kazakh": _KAZAKH,
    "english": _ENGLISH,
    "german": _GERMAN,
    "dutch": _DUTCH,
    "french": _FRENCH,
    "spanish": _SPANISH,
    "portuguese": _PORTUGUESE,
    "italian": _ITALIAN,
    "polish": _POLISH,
    "czech": _CZECH,
    "serbian": _SERBIAN,
    "hungarian": _HUNGARIAN,
    "romanian": _ROMANIAN,
    "turkish": _TURKISH,
    "nordic": _NORDIC,
    "finnish": _FINNISH,
    "baltic": _BALTIC,
    "japanese": _JAPANESE,
    "chinese": _syllables(_CHINESE),
    "korean": _KOREAN,
    "plain": _PLAIN,
}
"""Rules by language."""

_COUNTRIES = {
    "bgn": "RU KG TJ MN",
    "belarusian": "BY",
    "ukrainian": "UA",
    "bulgarian": "BG",
    "kazakh": "KZ UZ TM",
    "english": (
        "US GB CA AU NZ IE IM JE GG GI JM BS BB TT BZ GY AG DM GD KN LC VC BM KY VG VI AI MS TC FK "
        "GH NG KE UG ZM ZW ZA PH SG"
    ),
    "german": "DE AT CH LI",
    "dutch": "NL BE SR AW CW BQ SX",
    "french": "FR LU MC RE GP MQ GF NC PF YT PM WF BL MF CI SN ML BF NE TG BJ CM GA CG CD CF TD DJ KM MG HT",
    "spanish": "ES MX AR CO CL PE VE EC GT CU BO DO HN PY SV NI CR PA UY PR GQ AD",
    "portuguese": "BR PT AO MZ CV GW ST TL",
    "italian": "IT SM VA MT",
    "polish": "PL",
    "czech": "CZ SK",
    "serbian": "RS HR BA ME SI XK MK",
    "hungarian": "HU",
    "romanian": "RO MD",
    "turkish": "TR AZ CY",
    "nordic": "SE NO DK IS FO GL AX SJ",
    "finnish": "FI EE",
    "baltic": "LT LV",
    "japanese": "JP",
    "chinese": "CN TW",
    "korean": "KR KP",
}
LANGUAGES: Final = {country: language for language, codes in _COUNTRIES.items() for country in codes.split()}
"""ISO 3166-1 alpha-2 → the language whose rules its names follow; others are ``plain``."""
